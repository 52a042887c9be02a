"""Models in other formats: ONNX, and C that depends on nothing."""
