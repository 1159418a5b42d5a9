"""The card's one manager: leases, residents, budget, and what follows when memory runs out."""
