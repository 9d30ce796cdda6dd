"""Import devices from CSV files and spreadsheets, and export them."""
