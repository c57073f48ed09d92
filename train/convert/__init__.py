"""Turn annotations of other tools into a data set."""
