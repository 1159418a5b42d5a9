"""The GPU manager: leases, resident components, the memory budget, and the fallbacks when memory runs out."""
