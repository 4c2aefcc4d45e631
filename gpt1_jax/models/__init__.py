"""Arrays to arrays: networks that know no file, no mesh and no config but their own."""
