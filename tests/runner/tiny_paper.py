"""The paper's laptop scale, made so small that a target takes seconds."""

LAPTOP = {
    "network.hidden": (16,),
    "pretraining.fine_tuning_steps": 40,
    "start.kmeans_restarts": 2,
    "clustering.max_steps": 20,
    "clustering.update_interval": 10,
    "clustering.tolerance": 0.0,
}
LAPTOP_SAMPLES = 150
