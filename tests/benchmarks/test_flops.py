from benchmarks import flops


def test_encoder_counts_two_operations_a_weight():
    assert flops.encoder(5, (3, 4, 2)) == 2 * 5 * (3 * 4 + 4 * 2)


def test_layer_pair_has_five_products():
    # x W1, h W2; dW2, dh, dW1
    assert flops.layer_pair_step(7, 3, 4) == 5 * (2 * 7 * 3 * 4)


def test_fine_tuning_is_three_passes_without_the_gradient_of_the_input():
    forward = 2 * 7 * (3 * 4 + 4 * 2) * 2
    assert flops.fine_tuning_step(7, (3, 4, 2)) == 3 * forward - 2 * 7 * 3 * 4


def test_plain_network_is_a_layer_pair():
    assert flops.fine_tuning_step(7, (3, 2)) == flops.layer_pair_step(7, 3, 2)


def test_clustering_and_refresh():
    encoder, q = 2 * 7 * (3 * 4 + 4 * 2), 3 * 7 * 2 * 5
    assert flops.clustering_step(7, (3, 4, 2), 5) == 3 * (encoder + q) - 2 * 7 * 3 * 4
    assert flops.refresh(7, (3, 4, 2), 5) == encoder + q


def test_kmeans_grows_with_restarts_and_iterations():
    distances = 2 * 100 * 3
    once = flops.kmeans(100, 3, 2, n_restarts=1, n_iterations=1)
    assert once == (1 + 2) * distances + (2 * distances + 300) + (2 * distances + 900) + 2 * distances
    assert flops.kmeans(100, 3, 2, 1, 4) - once == 3 * (2 * distances + 300)
    assert flops.kmeans(100, 3, 2, 3, 3) == 3 * once - 2 * (2 * distances)


def test_products_of_training_have_the_shapes_of_the_chain_rule():
    assert flops.products_of_training(7, (3, 4, 2)) == [(7, 3, 4), (7, 4, 2), (3, 7, 4), (4, 7, 2), (7, 2, 4)]
