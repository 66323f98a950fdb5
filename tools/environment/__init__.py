"""The set-up of .venv, with the standard library alone: it runs before anything is installed."""
