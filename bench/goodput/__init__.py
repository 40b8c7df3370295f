"""How well one upstream limit is used and shared: simulated time and real time."""
