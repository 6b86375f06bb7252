import pytest

from dec_jax.data import NAMES
from dec_jax.runner.config import Config
from dec_jax.runner.presets import N_CLUSTERS, PRESETS, config_of


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_configurations_that_know_their_name(preset):
    assert config_of(preset) == Config().with_values(PRESETS[preset] | {"preset": preset})


def test_preset_paper_is_the_papers_recipe():
    paper = config_of("paper")
    pretraining, clustering = paper.pretraining, paper.clustering
    assert (paper.network.hidden, paper.network.bottleneck) == ((500, 500, 2000), 10)
    assert (pretraining.dropout, pretraining.batch_size, clustering.batch_size) == (0.2, 256, 256)
    assert (pretraining.layer_wise_steps, pretraining.fine_tuning_steps) == (50_000, 100_000)
    assert (pretraining.learning_rate, pretraining.decay_every, pretraining.momentum) == (0.1, 20_000, 0.9)
    assert (clustering.learning_rate, clustering.tolerance, clustering.alpha) == (0.01, 0.001, 1)
    assert paper.start.kmeans_restarts == 20


@pytest.mark.parametrize("objective", ["idec", "dcn", "dkm"])
def test_objectives_that_keep_the_decoder_have_adam_in_the_short_presets(objective):
    fast, demo = config_of("fast", objective).clustering, config_of("demo", objective).clustering
    assert fast.optimizer == demo.optimizer == "adam"
    assert fast.max_steps > config_of("fast").clustering.max_steps
    assert config_of("paper", objective) == config_of("paper").with_values({"clustering.objective": objective})


def test_other_objectives_have_the_preset_as_it_is():
    own = config_of("fast", "my.module:loss")
    assert own == config_of("fast").with_values({"clustering.objective": "my.module:loss"})


def test_without_a_preset_the_objective_says_which():
    assert config_of(None).preset == config_of(None, "scan").preset == config_of(None, "imsat").preset == "auto"
    assert config_of(None, "idec") == config_of("fast", "idec")


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="unknown preset 'fats'; did you mean 'fast'"):
        config_of("fats")


def test_every_named_data_set_knows_its_number_of_clusters():
    assert set(N_CLUSTERS) == set(NAMES)
    assert {name: k for name, k in N_CLUSTERS.items() if k != 10} == {"reuters": 4, "reuters10k": 4}
