"""Choose box, tiles and thresholds after training, on validation images."""
