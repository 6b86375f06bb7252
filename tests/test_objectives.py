import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dec_jax import losses, objectives
from dec_jax.objectives import StepInputs, as_objective, dec, idec, kl, objective, reconstruction, size_balance

RNG = np.random.default_rng(0)
P, Q = RNG.dirichlet(np.ones(4), 6), RNG.dirichlet(np.ones(4), 6)
X, DECODED = RNG.normal(size=(2, 6, 5))
Z, CENTROIDS = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3))


def inputs(**others):
    arrays = {
        "x": X,
        "network_input": X,
        "z": Z,
        "centroids": CENTROIDS,
        "log_q": np.log(Q),
        "p": P,
        "reconstruction": DECODED,
    } | others
    return StepInputs(**{name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()})


KL = np.mean(np.sum(P * np.log(P / Q), axis=1))
MSE = np.mean((X - DECODED) ** 2)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (dec(), {"kl": KL}),
        (idec(0.3), {"reconstruction": MSE, "kl": KL}),
        (reconstruction("mae"), {"reconstruction": np.mean(np.abs(X - DECODED))}),
        (size_balance(), {"size_balance": np.log(4) + np.sum(Q.mean(axis=0) * np.log(Q.mean(axis=0)))}),
    ],
    ids=["dec", "idec", "mae", "size_balance"],
)
def test_terms_against_float64(made, expected):
    value, terms = made(inputs())
    assert set(terms) == set(expected)
    weights = {"kl": 0.3} if "reconstruction" in terms else {}
    for name, number in expected.items():
        assert float(terms[name]) == pytest.approx(number, rel=1e-5)
    assert float(value) == pytest.approx(sum(weights.get(name, 1) * number for name, number in expected.items()))


def test_objectives_add_and_scale():
    value, terms = (2 * (kl() + 0.5 * reconstruction("mse")))(inputs())
    assert float(value) == pytest.approx(2 * KL + MSE, rel=1e-5)
    assert float(terms["reconstruction"]) == pytest.approx(MSE, rel=1e-5)
    assert not kl().needs("reconstruction")
    assert (kl() + reconstruction()).needs("reconstruction")
    plain, _ = (kl() + shrink)(inputs())
    assert float(plain) == pytest.approx(KL + np.mean(Z**2), rel=1e-5)


def shrink(inputs):
    return jnp.mean(inputs.z**2)


def test_weights_and_parameters_are_traced():
    count = []

    def power(inputs, exponent):
        count.append(1)
        return jnp.mean(jnp.abs(inputs.z) ** exponent)

    value = jax.jit(lambda made, step: made(step)[0])
    results = [
        float(value(weight * objective(power, exponent=exponent), inputs()))
        for weight, exponent in ((1.0, 2.0), (3.0, 2.0), (1.0, 3.0))
    ]
    assert len(count) == 1
    np.testing.assert_allclose(results, [np.mean(Z**2), 3 * np.mean(Z**2), np.mean(np.abs(Z) ** 3)], rtol=1e-5)


def test_weights_under_vmap_equal_separate_values():
    gammas = jnp.array([0.0, 0.1, 2.0])
    together = jax.vmap(lambda gamma: idec(gamma)(inputs())[0])(gammas)
    np.testing.assert_allclose(together, [idec(float(gamma))(inputs())[0] for gamma in gammas], rtol=1e-6)


@pytest.mark.parametrize("made", [dec(), size_balance(), idec(0.1)], ids=["dec", "size_balance", "idec"])
def test_gradients_by_finite_differences(made):
    def loss(z, centroids, decoded):
        log_q = losses.log_soft_assignment(z, centroids)
        return made(inputs()._replace(z=z, centroids=centroids, log_q=log_q, reconstruction=decoded))[0]

    with jax.enable_x64():
        arguments = tuple(jnp.asarray(array, jnp.float64) for array in (Z, CENTROIDS, DECODED))
        check_grads(loss, arguments, order=1, modes=["rev"], rtol=1e-3)


def test_idec_with_a_large_gamma_walks_where_dec_does():
    def direction(made):
        def loss(z):
            log_q = losses.log_soft_assignment(z, inputs().centroids)
            return made(inputs()._replace(z=z, log_q=log_q, reconstruction=jnp.tile(z, 2)[:, :5]))[0]

        gradient = jax.grad(loss)(inputs().z).ravel()
        return gradient / jnp.linalg.norm(gradient)

    assert float(direction(dec()) @ direction(idec(1e6))) == pytest.approx(1, abs=1e-5)
    assert float(direction(dec()) @ direction(idec(0.1))) < 0.999


def test_dec_moves_the_embedding_towards_likely_centroids():
    z, centroids = jnp.array([[0.4, 0.0]]), jnp.array([[0.0, 0.0], [1.0, 0.0]])

    def loss(z):
        log_q = losses.log_soft_assignment(z, centroids)
        return dec()(inputs()._replace(z=z, centroids=centroids, log_q=log_q, p=jnp.array([[0.9, 0.1]])))[0]

    assert float(jax.grad(loss)(z)[0, 0]) > 0


def test_size_balance_counts_only_the_clusters_that_take_part():
    alike = jnp.log(jnp.array([[0.5, 0.5, 0.0]] * 4))
    assert float(size_balance()(inputs(log_q=alike))[0]) == pytest.approx(0, abs=1e-6)
    collapsed = jnp.log(jnp.array([[1.0, 1e-12, 0.0]] * 4))
    assert float(size_balance()(inputs(log_q=collapsed))[0]) == pytest.approx(np.log(2), rel=1e-5)


def test_labels_are_the_largest_assignment():
    np.testing.assert_array_equal(inputs().labels, Q.argmax(axis=1))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: -1 * kl(), ValueError, "weight must be at least 0, got -1"),
        (lambda: kl() + kl(), ValueError, "different names, got kl, kl"),
        (lambda: objective(shrink, needs=("decoder",)), ValueError, "unknown need 'decoder'"),
        (lambda: objective(shrink, exponent=2), TypeError, "must be a function .inputs, ..parameters."),
        (lambda: as_objective(lambda: 0), TypeError, "must be a function .inputs"),
        (lambda: reconstruction("mes"), ValueError, "unknown loss 'mes'; did you mean 'mse'"),
        (
            lambda: objective(lambda inputs: inputs.z, name="mine")(inputs()),
            TypeError,
            "mine must return a scalar, got",
        ),
    ],
)
def test_bad_objectives(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_no_objective_is_made_anew_where_it_was_made_before():
    assert jax.tree.structure(objectives.idec(0.1)) == jax.tree.structure(objectives.idec(0.2))
