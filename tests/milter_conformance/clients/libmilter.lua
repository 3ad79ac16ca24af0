-- miltertest of OpenDKIM (Debian's package), with the codec of libmilter.
-- Globals: socket, version, actions, steps, sender, message (see ../README.md).

local function finish(text)
	mt.echo(text)
	os.exit(0)
end

local conn = mt.connect("unix:" .. socket)
if conn == nil then error("no connection") end

-- The reply to the last command, where there is one.
local function refused(failure, what)
	if failure ~= nil then error(what .. ": " .. tostring(failure)) end
	local reply = mt.getreply(conn)
	if reply == SMFIR_REPLYCODE then finish("refused") end
	if reply == SMFIR_ACCEPT then finish("accept") end
	if reply == SMFIR_SKIP then return true end
	return false
end

-- miltertest 1.6.0 takes them the other way round than its manual says.
local failure = mt.negotiate(conn, tonumber(version), tonumber(steps), tonumber(actions))
if failure ~= nil then error("negotiation: " .. tostring(failure)) end

refused(mt.conninfo(conn, "[x]", "2001:db8:1::10"), "connect")
refused(mt.helo(conn, "mail.good.example"), "helo")
refused(mt.mailfrom(conn, sender), "mail")
refused(mt.rcptto(conn, "<b@contoso.com>"), "rcpt")
if tonumber(version) >= 4 and not mt.test_option(conn, SMFIP_NODATA) then
	refused(mt.data(conn), "data")
end

local file = assert(io.open(message, "rb"))
local text = file:read("*a")
file:close()
local first, last = text:find("\r\n\r\n", 1, true)
local header, body = text:sub(1, first + 1), text:sub(last + 1)

local keeps_space = mt.test_option(conn, SMFIP_HDR_LEADSPC)
local fields = {}
for line in header:gmatch("(.-)\r\n") do
	if line:find("^[ \t]") then
		fields[#fields][2] = fields[#fields][2] .. "\n" .. line
	else
		local name, value = line:match("^([^:]*):(.*)$")
		fields[#fields + 1] = { name, value }
	end
end
for _, field in ipairs(fields) do
	-- Where space is kept, miltertest adds one itself.
	local value, spaces = field[2]:gsub("^ ", "")
	if keeps_space and spaces == 0 then finish("unable") end
	refused(mt.header(conn, field[1], value), "header")
end
refused(mt.eoh(conn), "eoh")
-- Skipping is up to the MTA.
if not refused(mt.bodystring(conn, body), "body") or true then
	local failed = mt.eom(conn)
	if failed ~= nil then error("eom: " .. tostring(failed)) end
end
local reply = mt.getreply(conn)
if mt.eom_check(conn, MT_SMTPREPLY, "450") then finish("refused 450") end
if mt.eom_check(conn, MT_SMTPREPLY, "451") then finish("refused 451") end
if reply == SMFIR_REPLYCODE then finish("refused") end
if mt.eom_check(conn, MT_HDRDELETE, "Authentication-Results") then mt.echo("remove") end
if mt.eom_check(conn, MT_HDRINSERT, "Authentication-Results") then
	local value = mt.getheader(conn, "Authentication-Results", 0)
	mt.echo("insert " .. tostring(value):gsub("[\r\n\t]+", " "))
end
if reply == SMFIR_CONTINUE then finish("continue") end
if reply == SMFIR_ACCEPT then finish("accept") end
finish("reply " .. tostring(reply))
