"""MLflow's web pages: views, links and descriptions."""
