"""Every command and configuration of the documentation is run, or at least read by what it is for."""
