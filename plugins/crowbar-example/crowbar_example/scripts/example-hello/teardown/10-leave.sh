# Takes away what the member wrote. Running it again changes nothing.
rm -rf /etc/crowbar-example/members /etc/crowbar-example/members.new
