"""What would happen if: the SUMO network of the province, and the twin that feeds a demonstration."""
