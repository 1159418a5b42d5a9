"""The mathematics that engines of one family share; it imports no engine."""
