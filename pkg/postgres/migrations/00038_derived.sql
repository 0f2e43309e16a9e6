-- +goose Up

-- Of which runs an evaluation tells, and whether of a plan that waits, is derived from its outcome whoever writes that: a process
-- of the version before, beside one of this version, does not know these columns. An excerpt of a file may have a NUL, which the
-- functions of JSON do not take.
-- +goose StatementBegin
CREATE FUNCTION evaluation_derived() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  all_of json := replace(NEW.outcome::text, '\u0000', '\u0020');
BEGIN
  IF json_typeof(all_of) = 'array' THEN
    NEW.runs := coalesce((SELECT array_agg((o ->> 'run')::bigint) FROM json_array_elements(all_of) o WHERE o ->> 'run' IS NOT NULL), '{}');
    NEW.waits := EXISTS (SELECT FROM json_array_elements(all_of) o WHERE o ->> 'waiting' IS NOT NULL);
  END IF;
  RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER evaluation_derived BEFORE INSERT OR UPDATE OF outcome ON evaluations FOR EACH ROW EXECUTE FUNCTION evaluation_derived();
UPDATE evaluations SET outcome = outcome;
