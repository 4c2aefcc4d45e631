"""The networks: functions of arrays, without files, meshes or a RunConfig."""
