"""Playing a policy: agents, runtimes (eager, ONNX, CUDA graph), export and latency measurement."""
