"""Defines what the studio and the engines share: parameters, plans, protocols, errors."""
