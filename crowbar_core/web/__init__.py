"""The faces over HTTP: the REST API and the pages."""
