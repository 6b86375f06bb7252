import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from dec_jax.estimator import DEC

pytestmark = pytest.mark.long

# A tenth of the default's, which is enough for what the checks look at.
FEW_STEPS = {"start.steps": 60}


def test_all_checks_of_scikit_learn_pass():
    # With four clusters, as it comes: of what has predict_proba, one expects as many columns as its data have classes.
    for estimator, check in estimator_checks_generator(DEC(settings=FEW_STEPS, random_state=0)):
        if check.func.__name__ != "check_array_api_input":  # it skips unless a variable of the environment is set
            check(estimator)
