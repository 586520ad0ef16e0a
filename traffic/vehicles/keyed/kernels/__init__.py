"""What is compiled: plain loops over the sightings of vehicles. Imported where they are called, and not before."""
