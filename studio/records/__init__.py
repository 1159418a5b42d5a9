"""The records that the store keeps and every room reads."""
