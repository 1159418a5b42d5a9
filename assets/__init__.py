"""What ships with the code: the sample character, the embedded models, the studio's css and js."""
