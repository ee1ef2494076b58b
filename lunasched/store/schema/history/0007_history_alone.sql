-- Jobs are in a database of their own, which belongs to root (schema/definitions): by now they
-- have been copied there.
DROP TABLE jobs;
DROP TABLE dependencies;
