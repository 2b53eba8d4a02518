"""What every stage stands on: artifacts, params, hardware, seeds and the registry of kinds."""
