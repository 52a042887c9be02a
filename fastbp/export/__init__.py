"""Export of models to ONNX, and to C without dependencies."""
