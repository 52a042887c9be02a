"""Train dense neural networks on a CPU as fast as the processor allows."""
