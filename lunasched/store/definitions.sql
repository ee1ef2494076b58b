-- name: job_names
SELECT name FROM jobs ORDER BY name;

-- name: enabled_names
SELECT name FROM jobs WHERE json_extract(definition, '$.enabled') ORDER BY name;

-- name: possible_intervals
SELECT name, updated_at FROM jobs
WHERE json_extract(definition, '$.enabled')
    AND json_extract(definition, '$.schedule') LIKE '%every%' ORDER BY name;

-- name: all_jobs
SELECT definition FROM jobs ORDER BY name;

-- name: some_jobs
SELECT name, definition, updated_at FROM jobs
WHERE name IN (SELECT value FROM json_each(:names)) ORDER BY name;

-- name: job_lines
SELECT name, json_extract(definition, '$.enabled') AS enabled,
    json_extract(definition, '$.tags') AS tags,
    iif(json_extract(definition, '$.private'), '""',
        json_quote(json_extract(definition, '$.command'))) AS command FROM jobs ORDER BY name;

-- name: listed_jobs
SELECT name, updated_at, json_extract(definition, '$.schedule') AS schedule,
    json_extract(definition, '$.timezone') AS timezone,
    json_extract(definition, '$.enabled') AS enabled,
    json_extract(definition, '$.tags') AS tags, source, line
FROM jobs LEFT JOIN origins ON origins.job = jobs.name ORDER BY name;

-- name: one_job
SELECT definition, updated_at FROM jobs WHERE name = :name;

-- name: dependents
SELECT jobs.definition FROM jobs JOIN dependencies ON dependencies.job = jobs.name
WHERE dependencies.depends_on = :name ORDER BY jobs.name;

-- name: dependent_names
SELECT job FROM dependencies WHERE depends_on = :name ORDER BY job;

-- name: any_exclusive
SELECT EXISTS (
    SELECT 1 FROM jobs WHERE json_extract(definition, '$.execution_mode') = 'Exclusive');

-- name: put_dependency
INSERT INTO dependencies (job, depends_on) VALUES (:job, :depends_on);

-- name: delete_dependencies
DELETE FROM dependencies WHERE job = :job;

-- name: put_job
INSERT INTO jobs (name, definition, created_at, updated_at)
VALUES (:name, :definition, :created_at, :updated_at)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, updated_at = excluded.updated_at;

-- name: delete_job
DELETE FROM jobs WHERE name = :name;

-- name: removed_when_over
SELECT name FROM jobs WHERE json_extract(definition, '$.remove_when_over') ORDER BY name;

-- name: job_times
SELECT name, updated_at FROM jobs;

-- name: job_facts
SELECT name, updated_at, json_extract(definition, '$.schedule') AS schedule,
    json_extract(definition, '$.timezone') AS timezone,
    json_extract(definition, '$.enabled') AS enabled,
    json_extract(definition, '$.execution_mode') AS execution_mode,
    json_extract(definition, '$.overlap') AS overlap,
    json_extract(definition, '$.jitter_seconds') AS jitter_seconds,
    json_extract(definition, '$.accuracy') AS accuracy
FROM jobs ORDER BY name;

-- name: origins
SELECT job, source, line, text, inherited FROM origins ORDER BY job;

-- name: origins_of
SELECT job, source, line, text, inherited FROM origins
WHERE job IN (SELECT value FROM json_each(:names)) ORDER BY job;

-- name: put_origin
INSERT INTO origins (job, source, line, text, inherited)
VALUES (:job, :source, :line, :text, :inherited)
ON CONFLICT (job) DO UPDATE SET source = excluded.source, line = excluded.line,
    text = excluded.text, inherited = excluded.inherited
WHERE source <> excluded.source OR line <> excluded.line OR text <> excluded.text
    OR inherited <> excluded.inherited;

-- name: delete_origin
DELETE FROM origins WHERE job = :job;

-- name: adopted
SELECT job, source, text FROM adopted ORDER BY job;

-- name: put_adopted
INSERT INTO adopted (job, source, text) SELECT job, source, text FROM origins WHERE job = :job;

-- name: delete_adopted
DELETE FROM adopted WHERE job = :job;
