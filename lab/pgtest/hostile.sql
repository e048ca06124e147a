-- Objects that any role with CREATE on public can put there: for each operator and each
-- function of one or two arguments that the product might use, better matches for
-- inexact calls (CVE-2018-1058). A statement that binds to one fails, and the error
-- shows the statement.
CREATE FUNCTION public.caught() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a statement bound to public: %', pg_catalog.current_query() USING ERRCODE = 'TF666';
END
$$;
SET check_function_bodies = off;
SET search_path = pg_catalog, pg_temp;
DO $$
DECLARE
    kinds regtype[] := '{text,name,varchar,"char",int2,int4,int8,numeric,float8,bool,oid,regclass,xid8,jsonb,json,timestamptz,timestamp,interval}';
    few   regtype[] := '{text,name,int4,int8,numeric,regclass,jsonb,timestamptz,interval,bool}';
    f     record;
BEGIN
    FOR f IN -- operators, with functions of their own
        SELECT l.t AS l, r.t AS r FROM unnest(kinds) AS l (t), unnest(kinds) AS r (t)
    LOOP
        EXECUTE format('CREATE FUNCTION public.hostile(%s, %s) RETURNS boolean LANGUAGE sql AS ''SELECT public.caught()''', f.l, f.r);
    END LOOP;
    FOR f IN
        SELECT o.name, l.t AS l, r.t AS r
        FROM unnest('{=,<>,<,>,<=,>=,+,-,*,/,%,||,~,!~,~~,?,->,->>,@>,@?}'::text[]) AS o (name), unnest(kinds) AS l (t), unnest(kinds) AS r (t)
        WHERE NOT EXISTS (SELECT FROM pg_operator AS p WHERE p.oprname = o.name AND p.oprleft = l.t AND p.oprright = r.t)
    LOOP
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.hostile)', f.name, f.l, f.r);
    END LOOP;
    FOR f IN
        SELECT p.name, l.t AS l
        FROM (SELECT DISTINCT proname AS name FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ({names})
                AND (provariadic <> 0 OR 1 BETWEEN pronargs - pronargdefaults AND pronargs)) AS p, -- others cannot be called so
            unnest(kinds) AS l (t)
        WHERE NOT EXISTS (SELECT FROM pg_proc AS q WHERE q.proname = p.name AND q.pronargs = 1 AND q.proargtypes[0] = l.t)
    LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS boolean LANGUAGE sql AS ''SELECT public.caught()''', f.name, f.l);
    END LOOP;
    FOR f IN
        SELECT p.name, l.t AS l, r.t AS r
        FROM (SELECT DISTINCT proname AS name FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ({names})
                AND (provariadic <> 0 OR 2 BETWEEN pronargs - pronargdefaults AND pronargs)) AS p,
            unnest(few) AS l (t), unnest(few) AS r (t)
        WHERE NOT EXISTS (SELECT FROM pg_proc AS q WHERE q.proname = p.name AND q.pronargs = 2 AND q.proargtypes[0] = l.t AND q.proargtypes[1] = r.t)
    LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s, %s) RETURNS boolean LANGUAGE sql AS ''SELECT public.caught()''', f.name, f.l, f.r);
    END LOOP;
END
$$;
-- Tables and types of our names, and of the catalog's.
CREATE TABLE public.tasks (id text);
CREATE TABLE public.events (id text);
CREATE TABLE public.schema_version (version_id bigint, is_applied boolean);
CREATE VIEW public.pg_class AS SELECT public.caught() AS oid;
CREATE VIEW public.pg_settings AS SELECT public.caught() AS name;
CREATE DOMAIN public.jsonb AS text CHECK (public.caught());
CREATE DOMAIN public.text AS pg_catalog.text CHECK (public.caught());
