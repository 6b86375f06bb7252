import pytest
import scipy.sparse
from tiny_run import X, cluster

from benchmarks import flops, matmul_rate
from experiments import speed

PAIRS = [(64, 16), (16, 3)]


@pytest.fixture
def known_rate(monkeypatch):
    monkeypatch.setattr(matmul_rate.MatmulRate, "measure", lambda self: 1e9)
    monkeypatch.setattr(speed, "MatmulRate", matmul_rate.MatmulRate)


def test_speed_is_what_the_steps_and_seconds_say(files, tmp_path, known_rate, no_pictures):
    result = cluster(files.x, tmp_path / "out").result
    seconds = result["seconds"]
    operations = {
        "pretraining": 400 * sum(flops.layer_pair_step(64, *pair) for pair in PAIRS)
        + 400 * flops.fine_tuning_step(64, (64, 16, 3)),
        "clustering": 100 * flops.clustering_step(64, (64, 16, 3), 10) + 5 * flops.refresh(200, (64, 16, 3), 10),
    }
    steps = {"pretraining": 2 * 400 + 400, "clustering": 100}
    assert list(result["speed"]) == ["pretraining", "clustering"]
    for phase, found in result["speed"].items():
        assert found["steps_per_second"] == pytest.approx(steps[phase] / seconds[phase])
        assert found["fraction"] == pytest.approx(operations[phase] / seconds[phase] / 1e9)


def test_a_reconstruction_in_the_objective_counts(files, tmp_path, known_rate, no_pictures):
    result = cluster(files.x, tmp_path / "out", "--objective", "idec").result
    assignments = 3 * flops.soft_assignment(64, 3, 10)
    step = flops.fine_tuning_step(64, (64, 16, 3)) + assignments
    operations = 100 * step + 5 * flops.refresh(200, (64, 16, 3), 10)
    expected = operations / result["seconds"]["clustering"] / 1e9
    assert result["speed"]["clustering"]["fraction"] == pytest.approx(expected)


def test_no_fraction_where_only_centroids_move(files, tmp_path, no_pictures):
    found = cluster(files.x, tmp_path / "out", train_encoder="false").result["speed"]
    assert found["clustering"]["fraction"] is None
    assert found["pretraining"]["fraction"] > 0


def test_no_fraction_of_sparse_samples(tmp_path, no_pictures):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_array(X.astype("float32")))
    found = cluster(tmp_path / "x.npz", tmp_path / "out").result["speed"]
    assert [phase["fraction"] for phase in found.values()] == [None, None]
    assert all(phase["steps_per_second"] > 0 for phase in found.values())
