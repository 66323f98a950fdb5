"""The model as other runtimes read it, made from the model file alone."""
