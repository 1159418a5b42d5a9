"""The commands behind `launch.py`: set-up, studio, demo, test, doctor, pull, bench."""
