"""The parts of the library's page, a file each."""
