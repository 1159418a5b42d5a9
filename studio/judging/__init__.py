"""How pictures are judged: likeness, quality, outcomes and the statistics over them."""
