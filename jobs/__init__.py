"""Where work runs. Thin: no logic of the domain."""
