"""What the studio may ask of an engine: parameters, plans, protocols, errors."""
