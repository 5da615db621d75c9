"""SavedModels for TensorFlow Serving, and its client."""
