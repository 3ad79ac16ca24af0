# Files that the documented commands need: Postfix configurations, and a list in git that
# has changed since it was cloned. Runs in a sandbox.
set -e
for instance in postfix postfix-mx postfix-out; do
    mkdir -p /etc/$instance
    cp /usr/share/postfix/main.cf.debian /etc/$instance/main.cf
    cp /usr/share/postfix/master.cf.dist /etc/$instance/master.cf
done
echo 'contoso.com smtp-ipv4:' >/etc/postfix/transport
git config --global user.email a@example.net
git config --global user.name a
git config --global init.defaultBranch main
git init --quiet /srv/upstream
git -C /srv/upstream commit --quiet --allow-empty -m nothing
git clone --quiet /srv/upstream /srv/opt-in
git -C /srv/upstream add customers.list
git -C /srv/upstream commit --quiet -m customers
