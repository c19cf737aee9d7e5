"""The live dashboard: one page that a run serves, and that opens a run which ended as well."""
