"""`preset = "auto"`: short trainings find out what suits the images, and the best of them goes on as the real one."""
