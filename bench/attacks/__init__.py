"""Whether attacks on the gateway are anybody else's trouble: latency of others, memory, CPU."""
