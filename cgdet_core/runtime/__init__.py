"""What runs on the vehicle: model file, predictor, postprocessing. Nothing of training or data."""
