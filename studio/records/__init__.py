"""The records that the store keeps and every package of the studio reads."""
