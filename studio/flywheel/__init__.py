"""The use cases of both flywheels, one module each; those that queue a job have a `submit` and a `run`."""
