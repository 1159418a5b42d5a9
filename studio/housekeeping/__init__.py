"""What keeps a studio in order: models that come, the machine's findings, disk use, cleaning up, and backups."""
