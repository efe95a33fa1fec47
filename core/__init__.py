"""The engine: configs, data, models, training, jobs and serving. It knows nothing of the page."""

__version__ = "0.1.0"
