"""What detections are worth: figures, the report, annotated video."""
