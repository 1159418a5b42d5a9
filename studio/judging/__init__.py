"""The judging of pictures: likeness, quality, outcomes and the statistics over them."""
